"""The command line: few verbs, one override grammar."""
