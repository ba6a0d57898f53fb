"""Several recipes, and rivals without training, trained and scored on one data set."""
