"""What every daemon is given: its loop, the feed, atomic files, the log and the trace."""
