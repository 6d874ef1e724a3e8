import java.security.Key;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Provider;
import java.security.Security;
import java.security.spec.AlgorithmParameterSpec;
import java.security.spec.ECGenParameterSpec;
import java.util.Arrays;
import java.util.Objects;
import javax.crypto.KeyAgreement;
import javax.crypto.KeyGenerator;
import javax.crypto.SecretKey;
import javax.crypto.spec.SecretKeySpec;
import sun.security.internal.spec.TlsKeyMaterialParameterSpec;
import sun.security.internal.spec.TlsKeyMaterialSpec;
import sun.security.internal.spec.TlsMasterSecretParameterSpec;
import sun.security.internal.spec.TlsPrfParameterSpec;
import sun.security.internal.spec.TlsRsaPremasterSecretParameterSpec;

/**
 * Derives keys through SunPKCS11 and, with the same input, in the JDK itself: java AgreeOnKeys.java SETTINGS_FILE.
 * The TLS services are what the JDK's own TLS asks of its providers. Ends with OK.
 */
class AgreeOnKeys {
    private static final byte[] CLIENT = new byte[32];
    private static final byte[] SERVER = new byte[32];
    private static Provider provider;

    public static void main(String[] arguments) throws Exception {
        provider = Security.getProvider("SunPKCS11").configure(arguments[0]);
        Security.addProvider(provider);
        Arrays.fill(CLIENT, (byte) 'c');
        Arrays.fill(SERVER, (byte) 's');
        agreement();
        premaster();
        tls("TlsPremasterSecret");
        tls("TlsRsaPremasterSecret");
        System.out.println("OK");
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    private static void agreement() throws Exception {
        KeyPairGenerator ours = KeyPairGenerator.getInstance("EC", provider);
        KeyPairGenerator theirs = KeyPairGenerator.getInstance("EC", "SunEC");
        for (String curve : new String[] {"secp256r1", "secp384r1", "secp521r1"}) {
            ours.initialize(new ECGenParameterSpec(curve));
            theirs.initialize(new ECGenParameterSpec(curve));
            KeyPair mine = ours.generateKeyPair();
            KeyPair yours = theirs.generateKeyPair();
            byte[] expected = agree(KeyAgreement.getInstance("ECDH", "SunEC"), yours, mine).generateSecret();
            byte[] found = agree(KeyAgreement.getInstance("ECDH", provider), mine, yours).generateSecret();
            check(Arrays.equals(expected, found), curve);
            Key premaster = agree(KeyAgreement.getInstance("ECDH", provider), mine, yours).generateSecret("TlsPremasterSecret");
            check("TlsPremasterSecret".equals(premaster.getAlgorithm()), "as a key");
        }
    }

    private static KeyAgreement agree(KeyAgreement agreement, KeyPair mine, KeyPair yours) throws Exception {
        agreement.init(mine.getPrivate());
        agreement.doPhase(yours.getPublic(), true);
        return agreement;
    }

    private static SecretKey made(Object from, String service, AlgorithmParameterSpec how) throws Exception {
        KeyGenerator generator = from instanceof Provider
            ? KeyGenerator.getInstance(service, (Provider) from) : KeyGenerator.getInstance(service, (String) from);
        generator.init(how);
        return generator.generateKey();
    }

    private static void premaster() throws Exception {
        byte[] value = made(provider, "SunTlsRsaPremasterSecret", new TlsRsaPremasterSecretParameterSpec(0x303, 0x303))
            .getEncoded();
        check(value.length == 48 && value[0] == 3 && value[1] == 3, "premaster");
    }

    private static void tls(String algorithm) throws Exception {
        byte[] bytes = new byte[48];
        Arrays.fill(bytes, (byte) 9);
        bytes[0] = 3;
        bytes[1] = 3;
        SecretKey premaster = new SecretKeySpec(bytes, algorithm);
        byte[][] found = derived(provider, premaster);
        byte[][] expected = derived("SunJCE", premaster);
        for (int place = 0; place < found.length; place++) {
            check(Objects.deepEquals(expected[place], found[place]), algorithm + " " + place);
        }
    }

    private static byte[][] derived(Object from, SecretKey premaster) throws Exception {
        SecretKey master = made(from, "SunTls12MasterSecret",
            new TlsMasterSecretParameterSpec(premaster, 3, 3, CLIENT, SERVER, "SHA-256", 32, 64));
        TlsKeyMaterialSpec block = (TlsKeyMaterialSpec) made(from, "SunTls12KeyMaterial",
            new TlsKeyMaterialParameterSpec(master, 3, 3, CLIENT, SERVER, "AES", 16, 0, 16, 32, "SHA-256", 32, 64));
        SecretKey finished = made(from, "SunTls12Prf",
            new TlsPrfParameterSpec(master, "client finished", new byte[32], 12, "SHA-256", 32, 64));
        return new byte[][] {
            master.getEncoded(), finished.getEncoded(),
            block.getClientMacKey().getEncoded(), block.getServerMacKey().getEncoded(),
            block.getClientCipherKey().getEncoded(), block.getServerCipherKey().getEncoded(),
            block.getClientIv().getIV(), block.getServerIv().getIV(),
        };
    }
}
