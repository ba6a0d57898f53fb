"""Pairs of images and truth to train networks with."""
