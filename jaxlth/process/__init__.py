"""What belongs to this process: its paths, its signals, the programs that it compiles."""
