"""Use cases: plain values in, plain values and events out. Knows no widget, no row, no tensor."""
