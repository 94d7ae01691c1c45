"""Does to tensors what a recipe says: changes images, disturbs features, weighs the loss."""
