"""Several drivers of one study, on one machine or several: who works at what, and where that is written."""
