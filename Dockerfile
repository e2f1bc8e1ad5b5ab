# The gateway and the engine emulator, which are one command: `andante serve`, `andante emulate`.
FROM python:3.12-slim

RUN useradd --uid 10001 --create-home andante && install --directory --owner=andante /data
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gateway gateway
COPY loadgen loadgen
RUN pip install --no-cache-dir --constraint constraints.txt .
COPY deploy/andante.toml deploy/andante.toml

USER andante
VOLUME /data
ENV ANDANTE_SERVER__HOST=0.0.0.0 \
    ANDANTE_SERVER__PORT=8080 \
    ANDANTE_STORE__PATH=/data/andante.db
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 \
    CMD andante health "http://127.0.0.1:$ANDANTE_SERVER__PORT/readyz"
CMD ["andante", "serve", "--config", "deploy/andante.toml"]
