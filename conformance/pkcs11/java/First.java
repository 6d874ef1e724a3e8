import java.net.InetAddress;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.Security;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;
import java.security.cert.X509Certificate;

/**
 * TLS where the token is the JVM's first provider: java -Djava.security.properties=FILE First PIN ALIAS ...
 * Server and client are this program; both sides' keys, each ALIAS in turn, are in the token. A line a handshake:
 * passed NAME, failed NAME: WHY.
 */
class First {
    private static final int LIMIT_MS = 30_000;

    public static void main(String[] arguments) throws Exception {
        char[] pin = arguments[0].toCharArray();
        if (!Security.getProviders()[0].getName().startsWith("SunPKCS11-")) {
            throw new AssertionError("the token is not the first provider");
        }
        if (!MessageDigest.getInstance("SHA-256").getProvider().getName().startsWith("SunPKCS11-")) {
            throw new AssertionError("the token does not serve SHA-256");
        }
        KeyStore store = KeyStore.getInstance("PKCS11");
        store.load(null, pin);
        for (int at = 1; at < arguments.length; at++) {
            for (String version : new String[] {"TLSv1.2", "TLSv1.3"}) {
                String name = "first provider, " + version + " with " + arguments[at];
                try {
                    handshake(store, pin, arguments[at], version);
                    System.out.println("passed " + name);
                } catch (Exception | AssertionError error) {
                    System.out.println("failed " + name + ": " + error);
                }
            }
        }
    }

    private static void handshake(KeyStore token, char[] pin, String alias, String version) throws Exception {
        KeyStore one = KeyStore.Builder.newInstance("PKCS11", Security.getProviders()[0],
            new KeyStore.PasswordProtection(pin)).getKeyStore();
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(one, pin);
        var chosen = new Chosen((javax.net.ssl.X509ExtendedKeyManager) keys.getKeyManagers()[0], alias);
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        trusted.setCertificateEntry("peer", token.getCertificate(alias));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance(version);
        context.init(new javax.net.ssl.KeyManager[] {chosen}, trust.getTrustManagers(), null);
        ExecutorService thread = Executors.newSingleThreadExecutor();
        try (var server = (SSLServerSocket) context.getServerSocketFactory()
                .createServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            server.setNeedClientAuth(true);
            server.setSoTimeout(LIMIT_MS);
            Future<byte[]> served = thread.submit(() -> {
                try (var socket = (SSLSocket) server.accept()) {
                    socket.setSoTimeout(LIMIT_MS);
                    byte[] heard = socket.getInputStream().readNBytes(100_000);
                    socket.getOutputStream().write(heard);
                    socket.getOutputStream().flush();
                    return heard;
                }
            });
            byte[] said = new byte[100_000];
            java.util.Arrays.fill(said, (byte) 7);
            try (var socket = (SSLSocket) context.getSocketFactory()
                    .createSocket(InetAddress.getLoopbackAddress(), server.getLocalPort())) {
                socket.setSoTimeout(LIMIT_MS);
                socket.getOutputStream().write(said);
                socket.getOutputStream().flush();
                check(java.util.Arrays.equals(said, socket.getInputStream().readNBytes(said.length)), "the echo");
                check(socket.getSession().getProtocol().equals(version), socket.getSession().getProtocol());
                check(socket.getSession().getPeerCertificates()[0].equals(token.getCertificate(alias)), "the server's key");
            }
            check(java.util.Arrays.equals(said, served.get(LIMIT_MS, TimeUnit.MILLISECONDS)), "what the server heard");
        } finally {
            thread.shutdownNow();
        }
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    /** Both sides take one alias, whatever the other side asks for. */
    private static class Chosen extends javax.net.ssl.X509ExtendedKeyManager {
        private final javax.net.ssl.X509ExtendedKeyManager inner;
        private final String alias;

        Chosen(javax.net.ssl.X509ExtendedKeyManager inner, String alias) {
            this.inner = inner;
            this.alias = alias;
        }

        @Override
        public String chooseClientAlias(String[] types, java.security.Principal[] issuers, java.net.Socket socket) {
            return alias;
        }

        @Override
        public String chooseServerAlias(String type, java.security.Principal[] issuers, java.net.Socket socket) {
            return inner.getPrivateKey(alias).getAlgorithm().equals(type.startsWith("EC") ? "EC" : type) ? alias : null;
        }

        @Override
        public X509Certificate[] getCertificateChain(String name) {
            return inner.getCertificateChain(name);
        }

        @Override
        public java.security.PrivateKey getPrivateKey(String name) {
            return inner.getPrivateKey(name);
        }

        @Override
        public String[] getClientAliases(String type, java.security.Principal[] issuers) {
            return inner.getClientAliases(type, issuers);
        }

        @Override
        public String[] getServerAliases(String type, java.security.Principal[] issuers) {
            return inner.getServerAliases(type, issuers);
        }
    }
}
