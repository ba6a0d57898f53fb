"""Other codes' algorithms, rewritten from their papers, to be timed beside ours."""
