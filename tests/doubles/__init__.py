"""Stateful stand-ins for services and programs that cannot run in a test."""
