"""Turns a source and frame numbers into pixels."""
