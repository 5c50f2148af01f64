"""Jobs and where they run: the file job, its driver loop and executors, training, and the command line."""
