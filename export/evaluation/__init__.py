"""The evidence: attacks x defences on labelled images, the paper's tables, comparisons and frontiers."""
