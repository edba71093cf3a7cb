"""The version, written into every artifact."""

VERSION = "0.1.0"
