"""Models and result files measured on datasets: prediction, files, report."""
