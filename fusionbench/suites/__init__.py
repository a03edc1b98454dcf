"""What a suite asks for: its file, and the plan of cells with their keys."""
