"""What models on features and models of MLlib share: vectors, small grids, and their graphs."""
