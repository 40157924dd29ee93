"""Find the affines of a graph, plan where each goes, and make it so."""
