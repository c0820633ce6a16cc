"""The system call filter of every customer's process: what it says, and the program made of it."""
