"""A farm to look at, and the browser that looks: for screenshots and for measurements."""
