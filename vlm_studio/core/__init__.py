"""Values and contracts. Standard library only; imports nothing else of ours."""
