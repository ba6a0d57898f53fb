"""What the microscope adds: dose, edges, drift, curtains, slices."""
