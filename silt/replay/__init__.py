"""Giving saved events, and what the topic still has, to the function again."""
