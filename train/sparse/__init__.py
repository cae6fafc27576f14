"""sparse: training with weights that are zero: schedules, shares of the layers, masks that prune, drop and regrow."""
