#!/usr/bin/env bash
# Prints the flags that all tests and checks are compiled with. They are the same for each, so that what they are made of is
# compiled once: with the race detector, and without debug information, which takes a tenth of the time and which a test's own
# linking leaves out.
echo -race -gcflags=all=-dwarf=false
