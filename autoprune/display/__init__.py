"""What people read in a terminal: progress, fronts, single candidates, comparisons."""

from autoprune.display.candidate import print_point
from autoprune.display.comparison import print_comparison
from autoprune.display.front import print_front
from autoprune.display.pages import say, terminal
from autoprune.display.verified import earlier, print_verified
from autoprune.display.watch import Watch, exit_codes

__all__ = [
    "Watch",
    "earlier",
    "exit_codes",
    "print_comparison",
    "print_front",
    "print_point",
    "print_verified",
    "say",
    "terminal",
]
