"""Other servers, driven by the same load over their own signaling."""
