"""What the processes of a lab said last, printed when something goes wrong."""

import contextlib


@contextlib.contextmanager
def shown(run):
    """Print the end of every log when the block fails; pytest shows it where it is looked for."""
    try:
        yield
    except BaseException:
        for log in sorted(run.glob("**/*.log")):
            print(f"--- {log}", *log.read_text(errors="replace").splitlines()[-10:], sep="\n")
        raise
