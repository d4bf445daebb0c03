"""What is made of the questions' answers: one run, one file, one table against the targets, one report."""
