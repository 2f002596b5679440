"""From measurements to medians, ratios, a page and pictures; what is not measured again stays."""
