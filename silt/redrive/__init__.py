"""Dead letters are given to their contract again: what passes becomes rows, each once."""
