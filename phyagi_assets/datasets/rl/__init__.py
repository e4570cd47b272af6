"""Datasets of prompts for reinforcement learning, and the text formats of conversations."""
