import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.Provider;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.function.Supplier;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** ZooKeeper's SSLContext: key and certificate from the token, without a PIN; the CA from a PEM file. */
public class TokenContext implements Supplier<SSLContext> {
    private static final Provider TOKEN = token();

    private static Provider token() {
        String settings = System.getProperty("token.settings");
        if (settings == null) {
            return Security.getProvider("SunPKCS11-MapRHSM");  // it stands in java.security
        }
        Provider token = Security.getProvider("SunPKCS11").configure(settings);
        Security.addProvider(token);  // last: TLS asks it for what only it can do, to sign with its key
        return token;
    }

    @Override
    public SSLContext get() {
        try {
            KeyStore keys = KeyStore.getInstance("PKCS11", TOKEN);
            keys.load(null, null);
            KeyManagerFactory keyManagers = KeyManagerFactory.getInstance("PKIX");
            keyManagers.init(keys, null);
            KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
            authorities.load(null, null);
            byte[] pem = Files.readAllBytes(Path.of(System.getProperty("token.authority")));
            Certificate authority = CertificateFactory.getInstance("X.509")
                .generateCertificate(new java.io.ByteArrayInputStream(pem));
            authorities.setCertificateEntry("ca", authority);
            TrustManagerFactory trustManagers = TrustManagerFactory.getInstance("PKIX");
            trustManagers.init(authorities);
            SSLContext context = SSLContext.getInstance("TLSv1.2");  // ZooKeeper enables what it is named, and its default ciphers are 1.2s
            context.init(keyManagers.getKeyManagers(), trustManagers.getTrustManagers(), null);
            return context;
        } catch (Exception error) {
            throw new IllegalStateException("no TLS from the token", error);
        }
    }
}
