"""What --help prints beside the options: commands by subject, whole summaries, examples."""
