"""Figures, as pictures with their captions."""
