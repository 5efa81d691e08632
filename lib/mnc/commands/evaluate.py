"""`mnc evaluate`: measure saved results again."""

from mnc.commands.test import add_evaluate_arguments as add_arguments
from mnc.commands.test import run_evaluate as run

__all__ = ["add_arguments", "run"]
