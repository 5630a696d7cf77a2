"""Exit codes of all commands. 0 is done; a defect ends with a traceback and 1, as in any Python program."""

BAD_INPUT = 2  # or usage, or a disk that fails
SOME_FAILED = 3  # images of a batch, while others are done
INTERRUPTED = 75  # by Ctrl-C or SIGTERM, and resumable where a command has --resume; sysexits.h EX_TEMPFAIL
