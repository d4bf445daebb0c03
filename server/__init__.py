"""Tandem's server: signaling, session state, negotiation and storage, all under Trio in one thread."""

__version__ = "0.1.0"
