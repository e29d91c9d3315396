"""A sample platform: FastAPI server and simulated GPU workers. fastapi's and uvicorn's only home."""
