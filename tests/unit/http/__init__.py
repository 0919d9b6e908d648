"""Tests of the HTTP server that shows a program."""
