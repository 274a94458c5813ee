"""Presentation attack detection: tells a living face from a print and a screen.

The terms are those of ISO/IEC 30107-3: an attack presentation is one with a print or a replay; the
APCER is the share of attacks of one kind that pass as live, the BPCER that of live (bona fide)
presentations that are taken for attacks.
"""
