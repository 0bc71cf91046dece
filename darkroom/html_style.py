"""The one style sheet of Darkroom's pages: light, dark, print, phone."""

from __future__ import annotations

_LIGHT = """--ground:#f4f5f6;--card:#fff;--ink:#1c2329;--soft:#5a6570;--line:#dfe3e7;--accent:#0b5f97;--stripe:#f7f9fa;
--good:#1a7f4e;--good-ground:#eaf6f0;--note:#0b5f97;--note-ground:#eaf3f9;--warning:#96600a;--warning-ground:#fdf4e3;
--problem:#b02a37;--problem-ground:#fcedee;color-scheme:light"""

_DARK = """--ground:#101418;--card:#181e24;--ink:#e4e8ec;--soft:#9ba7b2;--line:#2c353e;--accent:#6bb5ea;
--stripe:#1c232a;--good:#63c794;--good-ground:#15291f;--note:#6bb5ea;--note-ground:#142532;--warning:#e6b455;--warning-ground:#2c2415;
--problem:#f0858f;--problem-ground:#331a1d;color-scheme:dark"""

CSS = (
    f":root{{{_LIGHT}}}\n@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}\n@media print{{:root{{{_LIGHT}}}}}\n"
    + """
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif;overflow-wrap:break-word}
header,.layout{max-width:1240px;margin:0 auto;padding:0 20px}
header{padding-top:30px;padding-bottom:18px}
h1{font-size:1.75rem;line-height:1.2;margin:0;letter-spacing:-.01em}
header p{margin:.35rem 0 0;color:var(--soft)}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 .7rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:1.1rem 0 .5rem}
p{margin:0 0 .8rem;max-width:75ch}
ul{margin:0 0 .8rem;padding-left:1.2rem;max-width:75ch}
a{color:var(--accent)}
.layout{display:grid;grid-template-columns:190px minmax(0,1fr);gap:28px;align-items:start;padding-bottom:48px}
nav{position:sticky;top:20px;font-size:.875rem;max-height:calc(100vh - 40px);overflow:auto}
nav strong{color:var(--soft);font-weight:600}
nav ol{list-style:none;margin:.4rem 0 0;padding:0;border-left:2px solid var(--line)}
nav a{display:block;padding:.22rem 0 .22rem .8rem;color:var(--ink);text-decoration:none}
nav a:hover,nav a:focus-visible{color:var(--accent);text-decoration:underline}
main{min-width:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:22px 24px 12px;margin:0 0 20px;
display:grid;grid-template-columns:repeat(2,minmax(0,1fr));column-gap:22px}
.card>*{grid-column:1/-1;min-width:0}
.card>.half{grid-column:auto}
figure{margin:.2rem 0 1.1rem}
figcaption{font-weight:600;margin:0 0 .4rem;font-size:.95rem}
figure img{display:block;max-width:100%;height:auto;margin:0 auto}
.paper{background:#fff;border-radius:8px;padding:6px;border:1px solid var(--line)}
.svg{color:var(--ink);overflow-x:auto}
.svg svg{display:block;width:100%;height:auto;font-family:inherit}
.full .svg svg{min-width:620px}
.tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:12px;margin:0 0 1rem}
.tile{background:var(--stripe);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.tile dt{font-size:.82rem;color:var(--soft)}
.tile dd{margin:0}
.tile b{display:block;font-size:1.5rem;line-height:1.25;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.8rem;line-height:1.35;color:var(--soft)}
.wide{overflow-x:auto;margin:0 0 1rem}
.caption{font-weight:600;font-size:.95rem;margin:0 0 .3rem}
table{border-collapse:collapse;font-size:.9rem;min-width:min(100%,22rem)}
th,td{padding:.34rem .65rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft)}
th:first-child,td:first-child{padding-left:.4rem}
tbody tr:nth-child(even){background:var(--stripe)}
td{min-width:7.3rem;max-width:min(24rem,70vw)}
.n{min-width:0;text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th.n{white-space:normal}
.facts th{white-space:nowrap}
.facts td{max-width:none;overflow-wrap:anywhere}
.mark{display:inline-block;width:.7em;height:.7em;border-radius:2px;margin-right:.5em}
.callout{max-width:none;border-left:4px solid;border-radius:6px;padding:.6rem .9rem;margin:0 0 .8rem}
.callout strong{margin-right:.4em}
"""
    + "\n".join(
        f".callout.{kind}{{border-color:var(--{kind});background:var(--{kind}-ground)}}"
        f".callout.{kind} strong{{color:var(--{kind})}}"
        for kind in ("good", "note", "warning", "problem")
    )
    + """
details{margin:0 0 1rem}
summary{cursor:pointer;color:var(--accent);margin-bottom:.5rem}
.gallery h3{font-size:.95rem}
.strip{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:10px;margin:0 0 .6rem}
.strip>div{min-width:0}
.strip img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:#000;border-radius:6px}
.strip span{display:block;font-size:.72rem;line-height:1.3;color:var(--soft);overflow:hidden;text-overflow:ellipsis;
display:-webkit-box;-webkit-line-clamp:3;-webkit-box-orient:vertical;overflow-wrap:anywhere}
@media (max-width:900px){.layout{grid-template-columns:minmax(0,1fr);gap:14px}
nav{position:static;max-height:none;background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 16px}nav ol{columns:2;border:0}nav a{padding-left:0}}
@media (max-width:640px){header,.layout{padding-left:12px;padding-right:12px}.card{padding:16px 14px 6px}
.card>.half{grid-column:1/-1}h1{font-size:1.4rem}nav ol{columns:1}th,td{padding:.3rem .45rem}
.tiles{grid-template-columns:repeat(2,minmax(0,1fr));gap:8px}
.strip{grid-template-columns:repeat(auto-fill,minmax(76px,1fr))}}
@media print{body{font-size:11pt;background:#fff}nav{display:none}.layout{display:block}.card{border:0;padding:0;
margin:0 0 14pt}figure,tr,.tile,.gallery{break-inside:avoid}h2,h3,figcaption{break-after:avoid}
*{-webkit-print-color-adjust:exact;
print-color-adjust:exact}}
"""
)
