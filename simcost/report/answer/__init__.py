"""An answer for people: the number asked for, what it rests on, what limits it, its largest terms, then its metrics by group."""
