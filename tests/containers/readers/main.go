// Reads container files with the engines' own parsers and prints them as JSON; no engine is needed.
//
//	readers compose FILE      the resolved project, as docker compose loads it
//	readers dockerfile FILE   the stages and their instructions, as BuildKit reads them
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

type instruction struct {
	Name    string
	Details any
}

type stage struct {
	Name         string
	Base         string
	Instructions []instruction
}

func compose(file string) ([]byte, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithOsEnv)
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return project.MarshalJSON()
}

func dockerfile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	tree, err := parser.Parse(file)
	if err != nil {
		return nil, err
	}
	parsed, arguments, err := instructions.Parse(tree.AST, nil)
	if err != nil {
		return nil, err
	}
	stages := []stage{}
	for _, one := range parsed {
		commands := []instruction{}
		for _, command := range one.Commands {
			commands = append(commands, instruction{command.Name(), command})
		}
		stages = append(stages, stage{one.Name, one.BaseName, commands})
	}
	return json.Marshal(map[string]any{"Arguments": arguments, "Stages": stages})
}

func main() {
	readers := map[string]func(string) ([]byte, error){"compose": compose, "dockerfile": dockerfile}
	if len(os.Args) != 3 || readers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: readers compose|dockerfile FILE")
		os.Exit(2)
	}
	text, err := readers[os.Args[1]](os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}
