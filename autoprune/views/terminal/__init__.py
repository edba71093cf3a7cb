"""Output for a terminal: progress, fronts, single candidates, comparisons."""

from autoprune.views.terminal.candidate import print_point
from autoprune.views.terminal.comparison import print_comparison
from autoprune.views.terminal.front import print_front
from autoprune.views.terminal.pages import say, terminal
from autoprune.views.terminal.verified import earlier, print_verified
from autoprune.views.terminal.watch import Watch, exit_codes

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
