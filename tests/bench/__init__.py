"""Measurements. Never assertions: a machine's noise is no reason for a red test."""
