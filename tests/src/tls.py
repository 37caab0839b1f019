# Ends TLS in front of a server: `tls.py CERTIFICATE KEY PORT` prints the port it listens on, and takes every connection on to PORT.
import socket
import ssl
import sys
import threading

certificate, key, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def serve(plain):
    try:
        inner = context.wrap_socket(plain, server_side=True)
    except (OSError, ssl.SSLError):
        return
    outer = socket.create_connection(("127.0.0.1", port))
    back = threading.Thread(target=copy, args=(outer, inner), daemon=True)
    back.start()
    copy(inner, outer)
    back.join()
    inner.close()
    outer.close()


listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
