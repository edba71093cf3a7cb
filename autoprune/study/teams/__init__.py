"""Several drivers of one study, on one machine or several: who does which work, and where that is recorded."""
