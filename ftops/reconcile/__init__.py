"""What exists is made what the specs say: observe, plan, apply, write back. The only room that acts."""
