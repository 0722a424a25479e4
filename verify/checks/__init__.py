"""One module per subject; each function asks one question and answers with an Outcome."""
